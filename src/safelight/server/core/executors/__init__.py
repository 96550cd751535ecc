"""Thread pools that share their threads fairly between owners."""
