"""What can be known without training: what losses ask for, and the best prediction of simulated gaze."""
