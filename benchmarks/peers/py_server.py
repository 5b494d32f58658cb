"""tuspyserver as its documentation shows it: py_server.py DIRECTORY makes the application."""

from __future__ import annotations

import os

from fastapi import FastAPI  # type: ignore[import-not-found]
from tuspyserver import create_tus_router  # type: ignore[import-not-found]

app = FastAPI()
app.include_router(create_tus_router(files_dir=os.environ["FILES"], prefix="files"))
