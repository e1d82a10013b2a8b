"""fixlib book: parameters are checked before anything runs, failures are kept and reported."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from fixlib import book, data, system


def notebook(path, *code, tags=("parameters",)):
    cells = [nbformat.v4.new_code_cell(source) for source in code]
    cells[0].metadata["tags"] = list(tags)
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=cells, metadata=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python"))
        ),
        path,
    )
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(system, "root", lambda: tmp_path)
    notebook(
        tmp_path / "notebooks" / "00_first.ipynb",
        "dataset = 'osie'\nseeds = [0]\nprofile = 'quick'\nquick = True",
        "print(dataset, seeds)\nimport os\nprint(os.path.basename(os.getcwd()))",
    )
    return tmp_path


@pytest.mark.parametrize(
    "given, complaint",
    [
        ("datset=osie", "no chapter has a parameter 'datset'; there are: dataset, seeds, profile, quick"),
        ("dataset", "is not NAME=VALUE"),
        ("seeds=3", "expected list"),
        ("quick=true", "expected bool"),
        ("profile=papr", "unknown profile 'papr'; known: smoke, quick, paper"),
        ("dataset=osi", "osi"),
        ("dataset=.", "train_data.pt"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(project, given, complaint):
    with pytest.raises((ValueError, FileNotFoundError), match=complaint):
        book.make_book(parameters=[given])
    assert not (project / "build").exists()


@pytest.mark.parametrize("name", ["gazecom", "patterns", "a folder"])
def test_a_dataset_is_refused_where_a_chapter_says_that_it_needs_more(project, dataset, name, capsys):
    path = notebook(project / "notebooks" / "04_fourth.ipynb", "dataset = 'osie'", "1")
    needy = nbformat.read(path, as_version=4)
    needy.metadata["fixlib"] = dict(needs_durations=True)
    nbformat.write(needy, path)
    used = f"dataset={dataset if name == 'a folder' else name}"
    with pytest.raises(ValueError, match="04_fourth need fixations with their durations.*of osie, crowd, simulated"):
        book.make_book(["04_fourth"], [used])
    assert not (project / "build").exists()
    notebook(project / "notebooks" / "05_fifth.ipynb", "record = ''", "1")
    book.make_book(parameters=[used])  # the whole book
    printed = capsys.readouterr().out
    assert "left out: 04_fourth need fixations" in printed and "whatever the dataset: 05_fifth" in printed
    assert [path.stem for path in (project / "build" / "book").glob("*.html")] == ["00_first", "05_fifth"]


def test_appendices_follow_the_chapters(project):
    for name in ("appendix_b", "appendix_a", "01_second", "draft"):
        notebook(project / "notebooks" / f"{name}.ipynb", "seed = 0", "1")
    assert [path.stem for path in book.chapter_paths()] == ["00_first", "01_second", "appendix_a", "appendix_b"]


def test_the_chapters_that_show_durations_say_so():
    needy = [n for n in book.chapter_paths() if nbformat.read(n, as_version=4).metadata.get("fixlib")]
    assert [n.stem for n in needy] == ["01_sparsity_analysis", "06_hybrid_regression"]


def test_a_folder_is_found_from_where_the_chapters_run(project, dataset, monkeypatch):
    monkeypatch.chdir(Path(dataset).parent)
    book.make_book(["00_first"], [f"dataset={Path(dataset).name}"])
    first = nbformat.read(project / "build" / "book" / "00_first.ipynb", as_version=4)
    assert dataset in first.cells[-1].outputs[0].text


def test_an_unknown_chapter_is_refused(project):
    with pytest.raises(ValueError, match="no chapter '09'; there are: 00_first"):
        book.make_book(["09"])


def test_a_parameters_cell_that_computes_is_refused(project):
    path = notebook(project / "notebooks" / "01_second.ipynb", "a = 1\nb = a + 1")
    with pytest.raises(ValueError, match="may only assign literals"):
        book.chapter_parameters(path)


def test_two_parameters_cells_are_refused(project):
    path = notebook(project / "notebooks" / "01_second.ipynb", "a = 1", tags=())
    with pytest.raises(ValueError, match="0 cells tagged 'parameters'"):
        book.chapter_parameters(path)


def test_chapters_run_in_their_folder_with_the_parameters_and_a_failure_is_kept(project, capsys):
    notebook(project / "notebooks" / "01_second.ipynb", "dataset = 'osie'", "raise RuntimeError('no such luck')", "1")
    with pytest.raises(book.BookError, match=r"1 of 2 chapters failed \(01_second\)"):
        book.make_book(parameters=["dataset=simulated", "seeds=[1, 2]"])
    printed = capsys.readouterr().out
    assert "00_first: done" in printed and "FAILED in cell 3: RuntimeError: no such luck" in printed
    first = nbformat.read(project / "build" / "book" / "00_first.ipynb", as_version=4)
    assert first.cells[-1].outputs[0].text.split() == ["simulated", "[1,", "2]", "notebooks"]
    assert (project / "build" / "book" / "01_second.ipynb").exists()
    assert "simulated" in (project / "build" / "book" / "00_first.html").read_text()
    committed = nbformat.read(project / "notebooks" / "00_first.ipynb", as_version=4)
    assert not committed.cells[-1].outputs


def test_pages_give_figures_the_alt_text_told_below_them(project):
    cells = [nbformat.v4.new_code_cell("dataset = 'osie'", metadata=dict(tags=["parameters"]))]
    folded = "<details><summary>Description of the figure</summary>\n\n{}.\n\n</details>"
    for number, told in enumerate(("Alt text: a rising & *falling*\nline.", folded.format("a map"))):
        picture = f"from IPython.display import Image, display\ndisplay(Image(data=b'{number}', format='png'))"
        cells += [
            nbformat.v4.new_code_cell(picture),
            nbformat.v4.new_markdown_cell(f"**Figure {number}** What to see.\n\n{told}"),
        ]
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=cells, metadata=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python"))
        ),
        project / "notebooks" / "01_second.ipynb",
    )
    book.make_book(["01_second"])
    page = BeautifulSoup((project / "build" / "book" / "01_second.html").read_text(), "html.parser")
    assert [image["alt"] for image in page.select("img")] == ["a rising & falling line.", "a map."]


def test_what_texts_link_to_and_show_is_found_from_where_pages_are_put(project):
    cells = [
        nbformat.v4.new_code_cell("dataset = 'osie'", metadata=dict(tags=["parameters"])),
        nbformat.v4.new_markdown_cell("![a film](../figures/a.gif) [more](../docs/more.md)"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / "notebooks" / "01_second.ipynb")
    book.make_book(["01_second"])
    page = BeautifulSoup((project / "build" / "book" / "01_second.html").read_text(), "html.parser")
    assert page.img["alt"] == "a film" and page.img["src"] == "../../figures/a.gif"
    assert page.select("a[href$='more.md']")[0]["href"] == "../../docs/more.md"


def test_update_stores_the_executed_chapter_without_times_and_paths(project):
    book.make_book(update=True)
    stored = nbformat.read(project / "notebooks" / "00_first.ipynb", as_version=4)
    assert stored.cells[-1].outputs[0].text.split()[0] == "osie"
    assert [cell.execution_count for cell in stored.cells] == [1, 2]
    text = (project / "notebooks" / "00_first.ipynb").read_text()
    assert "papermill" not in text and str(project) not in text and "iopub" not in text


def test_update_stores_lines_that_arrive_one_by_one_as_one_output(project):
    lines = "import time\nfor line in 'abc':\n    print(line, flush=True)\n    time.sleep(0.3)\ndisplay(1)\nprint('d')"
    notebook(project / "notebooks" / "00_first.ipynb", "dataset = 'osie'", lines)
    book.make_book(update=True)
    outputs = nbformat.read(project / "notebooks" / "00_first.ipynb", as_version=4).cells[-1].outputs
    assert [output.get("text") for output in outputs] == ["a\nb\nc\n", None, "d\n"]
    arrived = nbformat.read(project / "build" / "book" / "00_first.ipynb", as_version=4).cells[-1].outputs
    assert len(arrived) > len(outputs)


def test_update_refuses_parameters(project):
    with pytest.raises(ValueError, match="--update"):
        book.make_book(parameters=["dataset=simulated"], update=True)


def test_a_killed_kernel_is_the_failure_of_its_chapter_alone(project, capsys):
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    notebook(project / "notebooks" / "00_a.ipynb", "dataset = 'osie'", kill, "1")
    with pytest.raises(book.BookError, match=r"1 of 2 chapters failed \(00_a\)"):
        book.make_book()
    printed = capsys.readouterr().out
    assert "00_a: FAILED: its kernel was killed, most likely for want of memory" in printed
    assert "00_first: done" in printed


def test_chapters_run_in_the_python_that_runs_the_book(project, monkeypatch, tmp_path):
    """Even where Jupyter calls another one python3."""
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    argv = ["/no/such/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (foreign / "kernel.json").write_text(json.dumps(dict(argv=argv, display_name="Python 3", language="python")))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook(project / "notebooks" / "00_first.ipynb", "dataset = 'osie'", "import sys\nprint(sys.executable)")
    book.make_book()
    first = nbformat.read(project / "build" / "book" / "00_first.ipynb", as_version=4)
    assert first.cells[-1].outputs[0].text.strip() == sys.executable


def test_the_first_and_the_last_line_say_that_the_gaze_is_simulated(project, monkeypatch, capsys):
    monkeypatch.setattr(data, "open_dataset", lambda *_: (_ for _ in ()).throw(data.DataUnavailable("no internet")))
    notice = "from fixlib.runs import fallback_notice\nprint(fallback_notice(dataset))"
    notebook(project / "notebooks" / "01_second.ipynb", "dataset = 'osie'", notice)
    book.make_book()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "*** SIMULATED GAZE, NOT RECORDINGS *** where a run is not recorded: no internet"
    assert lines[-1] == "*** SIMULATED GAZE, NOT RECORDINGS *** in 01_second"
