"""Where weights come from: checkpoints, classifiers, model families and the hub."""
