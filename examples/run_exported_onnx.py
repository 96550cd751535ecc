"""Runs `safelight export --format onnx --out FOLDER` on onnxruntime alone: run_exported_onnx.py FOLDER PICTURE."""

import io, json, sys
import numpy, onnxruntime
from PIL import Image
folder, path = sys.argv[1:]
labels = json.load(open(f"{folder}/classifier.json"))["labels"]
square = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
square.save(jpeg := io.BytesIO(), "JPEG")  # open-nsfw was trained on pictures that had been through JPEG
session = onnxruntime.InferenceSession(f"{folder}/classifier.onnx")
probabilities, embedding = session.run(None, {"pixels": numpy.asarray(Image.open(jpeg))[None]})
print(json.dumps(dict(zip(labels, probabilities[0].tolist()))))
