"""Image generation: requests, prompts, samplers, pipelines, previews, upscaling and reproduction records."""
