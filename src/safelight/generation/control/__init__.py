"""Control: pictures that steer a generation, and the preprocessors that make them from photographs."""
