"""Samplers: the registry, sigma schedules, and the solvers of diffusion and flow-matching checkpoints."""
