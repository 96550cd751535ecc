"""From a request to pictures: prompts, samplers, pipelines, previews, upscaling, records."""
