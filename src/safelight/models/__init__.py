"""Where weights come from: the store of pulled models, and the hub."""
