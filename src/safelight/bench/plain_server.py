"""A minimal server to compare with: FastAPI, a diffusers pipeline and a lock, in one process.

Run as ``python -m safelight.bench.plain_server CHECKPOINT PORT``.
"""

from __future__ import annotations

import base64
import io
import sys
import threading

import torch
import uvicorn
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from fastapi import FastAPI
from pydantic import BaseModel


class PlainRequest(BaseModel):
    """A generation request."""

    prompt: str
    seed: int = 0
    steps: int = 20


def build_app(checkpoint: str) -> FastAPI:
    """Build the server."""
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint, dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    app, lock = FastAPI(), threading.Lock()

    @app.post("/draw")
    def draw(wish: PlainRequest) -> dict[str, str]:
        generator = torch.Generator().manual_seed(wish.seed)
        with lock:
            image = pipeline(
                wish.prompt, num_inference_steps=wish.steps, guidance_scale=4.0, generator=generator
            ).images[0]
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return {"image": base64.b64encode(buffer.getvalue()).decode()}

    @app.get("/alive")
    async def alive() -> dict[str, str]:
        return {"state": "alive"}

    return app


if __name__ == "__main__":
    uvicorn.run(build_app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
