"""tuspyserver as its documentation shows it; the variable FILES names its directory."""

from __future__ import annotations

import os

from fastapi import FastAPI
from tuspyserver import create_tus_router

app = FastAPI()
app.include_router(create_tus_router(files_dir=os.environ["FILES"], prefix="files"))
