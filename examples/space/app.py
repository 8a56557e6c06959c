"""The page of ``textok app`` as a Space; also ``python app.py`` on any machine, at port 7860."""

import os

from textok.app.serve import serve
from textok.app.studio import Studio
from textok.pipeline.generation import Pipeline

model = os.environ.get("TEXTOK_MODEL", "icons-128")
serve(Studio(Pipeline.from_pretrained(model), source=model), host="0.0.0.0", port=7860)
