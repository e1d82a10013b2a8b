"""Train one small network on simulated gaze and draw what it predicts: data, model, loss, training, a picture.

python examples/train_one.py      # about a minute on one core; writes train_one.png
"""

import matplotlib.pyplot as plt
import torch

from fixlib import SimVP, get_loss_function, train_model_with_loss
from fixlib.data import cut_windows, simulate_scanpaths, split_by_stimulus_and_subject
from fixlib.training import WindowLoader

N_IN, N_OUT = 4, 2  # frames given, frames to be predicted; one every 100 ms

# Data: scanpaths of a generator, no viewer and no picture in two parts. `load_real_training_data` gives recorded gaze.
torch.manual_seed(0)
parts = split_by_stimulus_and_subject(simulate_scanpaths(n_subjects=15, n_stimuli=60, seed=0))
windows = {part: cut_windows(found.frames(10.0), N_IN + N_OUT, stride=3) for part, found in parts.items()}
train, val, test = (WindowLoader(windows[part], N_IN, batch_size=16, shuffle=part == "train") for part in windows)

# Model and loss. Try another: "mse", "dice", "weighted_mse".
model = SimVP(in_shape=(N_IN, 1, 32, 32), hid_S=8, hid_T=32, N_S=4, N_T=2, out_frames=N_OUT)
loss = get_loss_function("softmax_cross_entropy")
model, history = train_model_with_loss(model, train, val, loss, epochs=5)
print("validation loss by epoch:", ", ".join(f"{epoch['val_loss']:.2f}" for epoch in history))

# A picture: what was seen, and how probable each pixel of the next frame is; the cross is where gaze went.
seen, truth = next(iter(test))  # (B, N_IN, 1, 32, 32), (B, N_OUT, 1, 32, 32)
with torch.no_grad():
    next_frame = model(seen)[:, 0, 0].flatten(1).softmax(1).unflatten(1, (32, 32))  # (B, 32, 32)
figure, panels = plt.subplots(2, 4, figsize=(10, 5))
for row, (above, below) in enumerate(panels.T):
    y, x = divmod(int(truth[row, 0, 0].argmax()), 32)
    above.imshow(seen[row, -1, 0], cmap="gray")
    below.imshow(next_frame[row].sqrt(), cmap="gray")
    below.plot(x, y, "+", color="orange", markersize=12)
    for axes in (above, below):
        axes.set(xticks=[], yticks=[])
panels[0, 0].set_ylabel("last frame seen")
panels[1, 0].set_ylabel("next frame, predicted")
figure.suptitle("Simulated gaze, not recordings")
figure.savefig("train_one.png", dpi=150)
