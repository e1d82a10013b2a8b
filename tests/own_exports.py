"""Look-alikes of eye trackers' exports: headers, separators, encodings, line ends and traps of real files, our numbers.

`write(format, gaze, folder)` writes gaze (a table of fixations of nobody) as the format's software would.
"""

import gzip
import json

import numpy as np
import pandas as pd

SCREEN = (1280, 1024)
VIEWERS, PICTURES = ("anna", "bert", "cleo"), ("dog.jpg", "sea.jpg", "sky.jpg", "tree.jpg")
WRITERS = {}


def gaze(viewers=VIEWERS, pictures=PICTURES, n=14, seed=0):
    """Fixations: subject, stimulus, trial, order, onset and duration (ms), x, y (px of the screen, y down)."""
    rng, rows = np.random.default_rng(seed), []
    for subject in viewers:
        for trial, stimulus in enumerate(pictures, 1):
            duration = rng.integers(100, 400, n)
            onset = np.concatenate([[0], np.cumsum(duration[:-1] + 20)])
            x, y = rng.uniform(20, 1260, n).round(1), rng.uniform(20, 1000, n).round(1)
            # Saccades that anybody would see, so that velocity tells the same fixations as the file.
            x[1::2] = np.where(np.abs(np.diff(x)[::2]) < 100, (x[:-1:2] + 640) % 1240 + 20, x[1::2]).round(1)
            x[2::2] = np.where(np.abs(x[2::2] - x[1:-1:2]) < 100, (x[1:-1:2] + 400) % 1240 + 20, x[2::2]).round(1)
            columns = dict(onset=onset, duration=duration, x=x, y=y)
            rows.append(pd.DataFrame(dict(subject=subject, stimulus=stimulus, trial=trial, order=range(n)) | columns))
    return pd.concat(rows, ignore_index=True)


def samples(one, step_ms):
    """Times (ms), x, y of a trial: still in fixations, nothing (NaN) in between."""
    time = np.arange(0, one["onset"].iloc[-1] + one["duration"].iloc[-1], step_ms)
    which = np.searchsorted(one["onset"], time, side="right") - 1
    still = time < (one["onset"] + one["duration"]).to_numpy()[which]
    x, y = (np.where(still, one[axis].to_numpy()[which], np.nan) for axis in "xy")
    return time, x, y


def trials(table):
    return [(who, what, one) for (who, what), one in table.groupby(["subject", "stimulus"], sort=False)]


def writer(name, **options):
    """Register a writer: (gaze, folder) -> what is given to `prepare`; `options` are what a user has to say."""

    def register(function):
        WRITERS[name] = function, options
        return function

    return register


def write(name, table, folder):
    function, options = WRITERS[name]
    return function(table, folder), options


def _lines(folder, name, lines, end="\n", encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(end.join([*lines, ""]).encode(encoding))
    return path


def _rows(*columns, separator="\t"):
    return [separator.join(map(str, row)) for row in zip(*columns)]


ASC_HEAD = """** CONVERTED FROM {0}.edf using edfapi 4.2.762.0 Linux standalone Jul 20 2023 on Wed Oct 23 2024
** DATE: Sun Feb  4 23:01:58 2024
** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED
** VERSION: EYELINK II 1
** SOURCE: EYELINK CL
** RECORDED BY TRACK 2.0
**

MSG\t220960 DISPLAY_COORDS 0 0 1279 1023
MSG 229999 ENCODING TEST ÄÖÜ
INPUT\t234411\t127
MSG\t524874 !CAL
>>>>>>> CALIBRATION (HV5,P-CR) FOR LEFT: <<<<<<<<<
MSG\t524874 !CAL Cal coeff:(X=a+bx+cy+dxx+eyy,Y=f+gx+goaly+ixx+jyy)
     -0  85.416 -8.1364  0.10363 -0.088968"""


def _asc(table, folder, body):
    paths = []
    for who, of in table.groupby("subject", sort=False):
        lines, clock = ASC_HEAD.format(who).split("\n"), 600_000
        for _, picture, one in trials(of):
            lines += [
                f"MSG\t{clock - 50} TRIALID {one['trial'].iloc[0]}",
                f"MSG\t{clock - 40} !V IMGLOAD FILL Images\\{picture}",
                f"START\t{clock - 30} \tLEFT\tRIGHT\tSAMPLES\tEVENTS",
                "PRESCALER\t1",
                "SAMPLES\tGAZE\tLEFT\tRIGHT\tRATE\t 500.00\tTRACKING\tCR\tFILTER\t2",
                f"EFIX L   {clock - 30}\t{clock - 5}\t25\t  640.0\t  512.0\t    968",
                f"MSG\t{clock + 3} -3 SYNCTIME",
                *body(one, clock),
            ]
            clock += 60_000
            lines += [f"END\t{clock - 9000} \tSAMPLES\tEVENTS\tRES\t  47.75\t  45.92"]
            lines += [f"MSG\t{clock - 8000} !V TRIAL_VAR condition free"]
        paths.append(_lines(folder, f"{who}.asc", lines, encoding="latin-1"))
    return paths


@writer("EyeLink .asc, events of both eyes")
def asc_events(table, folder):
    def body(one, clock):
        for row in one.itertuples():
            begin, end = clock + row.onset, clock + row.onset + row.duration
            yield f"EBLINK L {begin}\t{begin}\t2"
            yield f"EFIX L   {begin}\t{end}\t{row.duration}\t{row.x:7.1f}\t{row.y:7.1f}\t    968"
            if row.order:  # one less, so that the left eye is the one with more
                yield f"EFIX R   {begin + 4}\t{end}\t{row.duration}\t{row.x - 9:7.1f}\t{row.y:7.1f}\t    970"

    return _asc(table, folder, body)


@writer("EyeLink .asc, samples")
def asc_samples(table, folder):
    def body(one, clock):
        for time, x, y in zip(*samples(one, 2)):
            eye = f"  {x:5.1f}\t  {y:5.1f}\t  802.0" if x == x else "   .\t   .\t    0.0"
            yield f"{clock + time}\t{eye}\t{eye}\t....."

    paths = _asc(table, folder, body)
    for path in paths:
        text = path.read_bytes().decode("latin-1")
        kept = [line for line in text.split("\n") if not line.startswith("EFIX")]
        path.write_bytes("\n".join(kept).encode("latin-1"))
    return paths


@writer("Data Viewer fixation report", screen=SCREEN)
def data_viewer(table, folder):
    report = pd.DataFrame({
        "RECORDING_SESSION_LABEL": table["subject"], "TRIAL_INDEX": table["trial"],
        "CURRENT_FIX_X": table["x"], "CURRENT_FIX_Y": table["y"], "CURRENT_FIX_PUPIL": "1430,0",
        "CURRENT_FIX_START": table["onset"], "CURRENT_FIX_DURATION": table["duration"],
        "CURRENT_FIX_INTEREST_AREA_LABEL": ".", "PREVIOUS_SAC_ANGLE": "UNDEFINEDnull", "image": table["stimulus"],
    })  # fmt: skip
    lost = report.iloc[:1].astype(object).assign(CURRENT_FIX_X=".", CURRENT_FIX_Y=".", CURRENT_FIX_START=9000)
    report = pd.concat([report.astype(object), lost])
    path = folder / "report.xls"
    report.to_csv(path, sep="\t", decimal=",", index=False, encoding="utf-16", lineterminator="\r\n")
    return path


@writer("Data Viewer fixation report, few columns", screen=SCREEN)
def data_viewer_few(table, folder):
    names = dict(subject="RECORDING_SESSION_LABEL", trial="TRIAL_INDEX", x="CURRENT_FIX_X", y="CURRENT_FIX_Y")
    report = table.rename(columns=names | dict(duration="CURRENT_FIX_DURATION", stimulus="image"))
    path = folder / "fix.csv"
    report.drop(columns=["order", "onset"]).assign(word='"the').to_csv(path, index=False, quoting=3)
    return path


@writer("Tobii Pro Lab")
def tobii_lab(table, folder):
    header = [
        "Recording timestamp [μs]", "Sensor", "Participant name", "Recording name", "Recording resolution width",
        "Recording resolution height", "Recording duration [ms]", "Gaze point X [DACS px]", "Gaze point Y [DACS px]",
        "Presented Stimulus name", "Eye movement type", "Gaze event duration [ms]", "Eye movement type index",
        "Fixation point X [DACS px]", "Fixation point Y [DACS px]", "Event",
    ]  # fmt: skip
    lines, clock = ["\t".join(header)], 0
    for who, of in table.groupby("subject", sort=False):
        index = 0
        for _, picture, one in trials(of):
            start = ["", who, f"Recording {who}", *SCREEN, 60000, "", "", picture]
            lines.append("\t".join(map(str, [clock, *start, *[""] * 5, "ImageStimulusStart"])))
            for row in one.itertuples():
                index += 1
                for step in range(3):
                    time = clock + row.onset * 1000 + step * 8333
                    fixation = ["Fixation", row.duration, index, row.x, row.y, ""]
                    start[0] = "Eye Tracker" if step != 1 else "Gyroscope"
                    start[6:8] = (row.x + step, row.y) if step != 1 else ("", "")
                    lines.append("\t".join(map(str, [time, *start, *fixation])))
                start[0] = "Eye Tracker"
                lines.append("\t".join(map(str, [time + 8333, *start, "Saccade", 20, index, "", "", ""])))
            clock += 60_000_000
    return _lines(folder, "Data export.tsv", lines, "\r\n", "utf-8-sig")


@writer("Tobii Pro Lab, glasses mapped on snapshots", screen=SCREEN)
def tobii_snapshots(table, folder):
    pictures = list(dict.fromkeys(table["stimulus"]))
    header = ["Recording timestamp", "Sensor", "Participant name", "Eye movement type", "Gaze event duration"]
    header += ["Eye movement type index", "Fixation point X", "Fixation point Y"]
    header += [f"Mapped fixation {axis} [{picture}]" for picture in pictures for axis in "XY"]
    paths = []
    for who, of in table.groupby("subject", sort=False):
        lines = ["\t".join(header)]
        for number, row in enumerate(of.itertuples(), 1):
            time = pictures.index(row.stimulus) * 60_000_000 + row.onset * 1000
            mapped = [""] * 2 * len(pictures)
            mapped[2 * pictures.index(row.stimulus) : 2 * pictures.index(row.stimulus) + 2] = [row.x, row.y]
            for sensor in ("Eye Tracker", "Gyroscope", "Eye Tracker"):
                cells = [time, sensor, who, "Fixation", row.duration, number, 55, 66, *mapped]
                lines.append("\t".join(map(str, cells)))
        paths.append(_lines(folder, f"{who}.tsv", lines, "\r\n"))
    return paths


@writer("Tobii Studio, all data")
def tobii_studio(table, folder):
    header = (
        "Timestamp DateTimeStamp GazePointXLeft FixationIndex GazePointX GazePointY StimuliName MediaWidth MediaHeight"
    )
    header += " MediaPosX MediaPosY MappedFixationPointX MappedFixationPointY FixationDuration "
    paths = []
    for who, of in table.groupby("subject", sort=False):
        lines, index, clock = [header.replace(" ", "\t")], 0, 19451
        for _, picture, one in trials(of):
            for row in one.itertuples():
                index += 1
                # The picture was 800 x 640 at 240, 190; "mapped" is px of the picture.
                x, y = (f"{value:.2f}".replace(".", ",") for value in (row.x / 1.6, row.y / 1.6))
                media = [picture, 800, 640, 240, 190, x, y, row.duration, ""]
                for step in range(2):
                    time = clock + row.onset + step * 20
                    lines.append("\t".join(map(str, [time, "15:42:57.413", "605,4089", index, 0, 0, *media])))
                lines.append(
                    "\t".join(map(str, [time + 20, "15:42:57.4", "605,4089", "", 0, 0, *media[:5], "", "", "", ""]))
                )
            clock += 20_000
            index += 1
            between = ["No media", 0, 1280, 1024, 0, 637, 544, 458, ""]
            lines.append("\t".join(map(str, [clock - 100, "15:42:57.413", "605,4089", index, 637, 544, *between])))
        paths.append(_lines(folder, f"{who}.tsv", lines, "\r\n"))
    return paths


@writer("Tobii Studio, fixations")
def tobii_studio_fixations(table, folder):
    paths = []
    for who, picture, one in trials(table):
        lines = ["Data properties:", "", "Recording date: 27/09/2011", f"Subject: {who}", "Recording: Rec 61"]
        lines += ["Screen resolution: 1280 x 1024", "Coordinate unit: Pixels", "", "Fixation radius: 35", ""]
        lines += ["FixationIndex\tTimestamp\tFixationDuration\tMappedFixationPointX\tMappedFixationPointY\t"]
        lines += [
            f"{i}\t{t}\t{d}\t{x}\t{y}\t"
            for i, t, d, x, y in one[["order", "onset", "duration", "x", "y"]].to_numpy(object)
        ]
        lines.insert(-1, f"99\t{one['onset'].iloc[-1] - 1}\t716\t-1\t578\t")
        paths.append(_lines(folder, f"{who}_{picture}-Fixation-Data.tsv", lines, "\r\n"))
    return [folder]


WRITERS["Tobii Studio, fixations"] = (
    tobii_studio_fixations,
    dict(columns=dict(stimulus="@{x}_{stimulus}-Fixation-Data.tsv")),
)


def _sdk(table, folder, ending):
    return [(folder / f"{who}_{picture}{ending}", *samples(one, 8)) for who, picture, one in trials(table)]  # 125 Hz


@writer(
    "Tobii Pro SDK, tuples", columns=dict(subject="@{subject}_{stimulus}.csv", stimulus="@{subject}_{stimulus}.csv")
)
def tobii_sdk(table, folder):
    header = "left_gaze_point_validity;right_gaze_point_on_display_area;system_time_stamp;right_gaze_point_validity"
    header += ";left_gaze_point_on_display_area;left_pupil_diameter;device_time_stamp"
    for path, time, x, y in _sdk(table, folder, ".csv"):
        x, y = x / 1280, y / 1024
        good = (x == x).astype(int)
        points = [f"({a}, {b})" for a, b in zip(x, y)]
        clock = [f"1.56466617{t // 10:05.0f}e+15" for t in time]
        rows = _rows(good, points, clock, good, points, ["2.97"] * len(x), 491999899 + 1000 * time, separator=";")
        _lines(path.parent, path.name, [header, *rows], "\r\r\n")
    return folder


@writer("Tobii Pro SDK, Titta", columns=dict(subject="@{subject}_{stimulus}.csv", stimulus="@{subject}_{stimulus}.csv"))
def titta(table, folder):
    for path, time, x, y in _sdk(table, folder, ".csv"):
        columns = {"Unnamed: 0": range(len(x)), "device_time_stamp": 491999899 + 1000 * time}
        for eye in ("left", "right"):
            columns[f"{eye}_gaze_point_on_display_area_x"] = x / 1280
            columns[f"{eye}_gaze_point_on_display_area_y"] = y / 1024
            columns[f"{eye}_gaze_point_validity"] = (x == x).astype(int)
        frame = pd.DataFrame(columns)
        frame.loc[3, "left_gaze_point_on_display_area_x"], frame.loc[3, "left_gaze_point_validity"] = (
            0.9,
            0,
        )  # one eye lost
        frame.to_csv(path, index=False)
    return folder


CORE = "@{subject}/fixations_{stimulus}.csv"


@writer("Pupil Core, fixations on a surface", columns=dict(subject=CORE, stimulus=CORE))
def pupil_core(table, folder):
    for who, picture, one in trials(table):
        header = (
            "world_timestamp,world_index,fixation_id,start_timestamp,duration,dispersion,norm_pos_x,norm_pos_y,x_scaled"
        )
        lines, frame = [header + ",y_scaled,on_surf"], 0
        for row in one.itertuples():
            for _ in range(3):  # one row a video frame
                frame += 1
                fixation = [7000 + row.onset / 1000, row.duration, 0.9, row.x / 1280, 1 - row.y / 1024, 1, 1, True]
                lines.append(",".join(map(str, [7000 + frame / 30, frame, row.order, *fixation])))
        _lines(folder / who, f"fixations_{picture}.csv", lines)
    return [folder / who for who in table["subject"].unique()]


@writer("Pupil Core, gaze on a surface", columns=dict(subject=CORE, stimulus=CORE))
def pupil_core_gaze(table, folder):
    for who, picture, one in trials(table):
        time, x, y = samples(one, 8)
        header = "world_timestamp,world_index,gaze_timestamp,x_norm,y_norm,x_scaled,y_scaled,on_surf,confidence"
        seconds, sure = 7000 + time / 1000, np.where(x == x, 0.97, 0.1)
        x, y = np.where(x == x, x / 1280, 0.5), np.where(y == y, 1 - y / 1024, 0.5)
        same = [seconds, range(len(x)), seconds, x, y, x, y, [True] * len(x), sure]
        _lines(folder / who, f"fixations_{picture}.csv", [header, *_rows(*same, separator=",")])
    return [folder / who for who in table["subject"].unique()]


@writer("Pupil Cloud, Marker Mapper", columns=dict(stimulus="@{stimulus}.csv"))
def pupil_marker_mapper(table, folder):
    header = "section id,recording id,fixation id,start timestamp [ns],end timestamp [ns],duration [ms],"
    header += "fixation detected on surface,fixation x [normalized],fixation y [normalized]"
    for picture, of in table.groupby("stimulus"):
        lines = [header]
        for row in of.itertuples():
            begin = 1_660_000_000_000_000_000 + int(row.onset) * 10**6
            cells = [row.subject, row.subject, row.order + 1, begin, begin + row.duration * 10**6, row.duration, "true"]
            lines.append(",".join(map(str, [*cells, row.x / 1280, row.y / 1024])))
        _lines(folder, f"{picture}.csv", lines)
    return folder


@writer("Pupil Cloud, Reference Image Mapper", columns=dict(stimulus="@{stimulus}.csv"), screen=SCREEN)
def pupil_reference_image(table, folder):
    pupil_marker_mapper(table.assign(x=table["x"] * 1280, y=table["y"] * 1024), folder)
    for path in folder.glob("*.csv"):
        header, _, rest = path.read_text().partition("\n")
        header = header.replace("on surface", "in reference image").replace("normalized", "px")
        path.write_text(f"{header}\n{rest}")
    return folder


@writer("SMI, samples")
def smi_samples(table, folder):
    paths = []
    for who, of in table.groupby("subject", sort=False):
        lines = ["## [BeGaze]", "## Date:\t09.06.2015 15:27:25", "## Sample Rate:\t250", f"## Subject:\t{who}"]
        lines += ["## Calibration Area:\t1280\t1024", "## Format:\tLEFT, POR", "##"]
        lines += ["Time\tType\tTrial\tL Raw X [px]\tL POR X [px]\tL POR Y [px]\tTiming\tStimulus"]
        clock = 167_531_284_088
        for _, picture, one in trials(of):
            lines.append(f"{clock}\tMSG\t{one['trial'].iloc[0]}\t# Message: {picture}")
            for time, x, y in zip(*samples(one, 4)):
                place = f"{x:.2f}\t{y:.2f}" if x == x else "0.00\t0.00"
                lines.append(f"{clock + 1000 * time}\tSMP\t{one['trial'].iloc[0]}\t310.20\t{place}\t0\t{picture}")
            clock += 60_000_000
        paths.append(_lines(folder, f"{who} Samples.txt", lines))
    return paths


@writer("SMI, events", screen=SCREEN)
def smi_events(table, folder):
    paths = []
    for who, of in table.groupby("subject", sort=False):
        lines = ["[BeGaze]", "Converted from:\tC:\\data\\x.idf", "Sample Rate:\t120", f"Subject:\t{who}", ""]
        lines += [
            "Table Header for Fixations:",
            "Event Type,Trial,Number,Start,End,Duration,Location X,Location Y,Dispersion X",
        ]
        lines += [
            "",
            "Table Header for Saccades:",
            "Event Type,Trial,Number,Start,End,Duration,Start Loc.X,Start Loc.Y",
            "",
        ]
        lines += ["Table Header for User Events:", "Event Type,Trial,Number,Start,Description", ""]
        clock = 167_531_284_088
        for _, picture, one in trials(of):
            lines.append(f"UserEvent,{one['trial'].iloc[0]},1,{clock},# Message: {picture}")
            for row in one.itertuples():
                begin = clock + row.onset * 1000
                times = f"{row.trial},{row.order + 1},{begin},{begin + row.duration * 1000},{row.duration * 1000}"
                lines += [f"Saccade L,{times},815.24,692.39", f"Fixation L,{times},{row.x},{row.y},47"]
                lines += [f"Fixation R,{times},{row.x + 3},{row.y},47"] if row.order else []
                lines += [f"Fixation L,{row.trial},99,{begin},{begin},9000,-,-,-"] if row.order == 5 else []
            clock += 60_000_000
        paths.append(_lines(folder, f"{who} Events.txt", lines, "\r\n"))
    return paths


@writer("Gazepoint, all gaze")
def gazepoint(table, folder):
    header = "MEDIA_ID,MEDIA_NAME,CNT,TIME(2023/01/26 17:04:02.089),TIMETICK(f=10000000),FPOGX,FPOGY,"
    header += "FPOGS,FPOGD,FPOGID,FPOGV,"
    paths = []
    for who, of in table.groupby("subject", sort=False):
        lines, count = [header], 0
        for number, (_, picture, one) in enumerate(trials(of)):
            for row in one.itertuples():
                start = number * 60 + row.onset / 1000
                for part in (0.3, 0.7, 1):  # it grows, and the last row tells it
                    count += 1
                    fixation = [row.x / 1280, row.y / 1024, start, round(part * row.duration / 1000, 5), row.order + 1]
                    lines.append(",".join(map(str, [number, picture, count, start, count, *fixation, 1, ""])))
                fixation[0] = 0.9
                lines.append(",".join(map(str, [number, picture, count, start, count, *fixation, 0, ""])))
        paths.append(_lines(folder, f"{who}.csv", lines, "\r\n"))
    return paths


def _jspsych(table, who):
    found = [dict(trial_type="webgazer-calibrate", subject_id=who, webgazer_data=[dict(x=1, y=1, t=3)])]
    for _, picture, one in trials(table):
        time, x, y = samples(one, 33)
        gaze = [dict(x=round(a, 1), y=round(b, 1), t=int(t) - 5) for t, a, b in zip(time, x, y) if a == a]
        target = dict(x=0, y=0, width=1280, height=1024, top=0, bottom=1024, left=0, right=1280)
        found.append(dict(trial_type="image-keyboard-response", stimulus=f"img/{picture}", subject_id=who,
                          webgazer_data=gaze, webgazer_targets={"#jspsych-image": target}))  # fmt: skip
    return found


@writer("jsPsych, json")
def jspsych(table, folder):
    paths = []
    for who, of in table.groupby("subject", sort=False):
        paths.append(folder / f"data_{who}.json")
        paths[-1].write_text(json.dumps(_jspsych(of, who)))
    return paths


@writer("jsPsych, csv")
def jspsych_csv(table, folder):
    found = [trial for who, of in table.groupby("subject", sort=False) for trial in _jspsych(of, who)]
    frame = pd.DataFrame(found)
    for name in ("webgazer_data", "webgazer_targets"):
        frame[name] = frame[name].map(lambda value: "" if isinstance(value, float) else json.dumps(value))
    frame.to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


@writer("BIDS physio")
def bids(table, folder):
    facts = dict(StimulusPresentation=dict(ScreenResolution=[1279, 1023], ScreenOrigin=["top", "left"]))
    _lines(folder, "study/task-look_events.json", [json.dumps(facts)])
    columns = dict(Columns=["timestamp", "x_coordinate", "y_coordinate", "pupil_size"], SamplingFrequency=250)
    columns["x_coordinate"] = dict(Units="pixel")
    _lines(folder, "study/task-look_physio.json", [json.dumps(columns)])
    for who, of in table.groupby("subject", sort=False):
        lines, events = [], ["onset\tduration\ttrial_type\tstim_file"]
        for number, (_, picture, one) in enumerate(trials(of)):
            time, x, y = samples(one, 4)
            events.append(f"{number * 60}\t{(time[-1] + 4) / 1000}\timage\t{picture}")
            place = [f"{a:.1f}\t{b:.1f}" if a == a else "n/a\tn/a" for a, b in zip(x, y)]
            lines += [f"{number * 60 + t / 1000:.3f}\t{xy}\t900" for t, xy in zip(time, place)]
        _lines(folder, f"study/sub-{who}/sub-{who}_task-look_events.tsv", events)
        path = folder / f"study/sub-{who}/sub-{who}_task-look_recording-eye1_physio.tsv.gz"
        path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode("utf-8-sig")))
    return folder / "study"


@writer(
    "PsychoPy ioHub",
    screen=SCREEN,
    columns=dict(subject="@{subject}_{stimulus}.csv", stimulus="@{subject}_{stimulus}.csv"),
)
def psychopy(table, folder):
    for path, time, x, y in _sdk(table, folder, ".csv"):
        x, y = np.round(x - 640, 1), np.round(512 - y, 1)  # middle of the screen, y up
        header = "device_time,left_gaze_x,left_gaze_y,right_gaze_x,right_gaze_y"
        _lines(path.parent, path.name, [header, *_rows(133087.3938 + time / 1000, x, y, x, y, separator=",")])
    return folder


@writer("FixaTons", screen=SCREEN)
def fixatons(table, folder):
    for who, picture, one in trials(table):
        lines = [f"{r.x} {r.y} {r.onset / 1000} {(r.onset + r.duration) / 1000:.3f}" for r in one.itertuples()]
        _lines(folder, f"SET/SCANPATHS/{picture.split('.')[0]}/{who}", lines)
    return folder / "SET"


@writer("a table of one's own", screen=SCREEN)
def generic(table, folder):
    path = folder / "all.csv"
    table.assign(duration_s=table["duration"] / 1000, picture=table["stimulus"]).drop(
        columns=["duration", "stimulus", "order"]
    ).rename(columns=dict(onset="Onset [ms]", x="Gaze_X (px)", y="Gaze_Y (px)", subject="Participant")).to_csv(
        path, index=False, sep=";"
    )
    return path


@writer(
    "a table nobody knows", screen=SCREEN, columns="x=gx,y=gy,duration=dur:us,onset=begin:s,subject=who,stimulus=scene"
)
def unknown(table, folder):
    path = folder / "all.txt"
    frame = pd.DataFrame(dict(who=table["subject"], scene=table["stimulus"], gx=table["x"], gy=table["y"]))
    frame.assign(dur=1000 * table["duration"], begin=table["onset"] / 1000).to_csv(path, index=False, sep="|")
    return path


@writer("a data frame", screen=SCREEN, columns=dict(stimulus="picture, name"))
def data_frame(table, folder):
    return table.drop(columns="order").rename(columns=dict(stimulus="picture, name"))
