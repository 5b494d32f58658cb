"""A server for the tus resumable upload protocol, on aiohttp.

Run it as a program (`tusserver`), or mount it into an aiohttp application:

    engine = build_engine(Settings(upload_dir="uploads"), hooks=CallableHooks(...))
    app.add_subapp("/files/", tus_app(engine))
"""

from tusserver.auth.grants import sign_upload_url
from tusserver.caller import Caller
from tusserver.compose import build_engine
from tusserver.config import Settings
from tusserver.engine.core import UploadEngine
from tusserver.engine.parts import EngineParts
from tusserver.errors import Forbidden, HookFailed, Rejected, TusError, Unauthenticated
from tusserver.gates import AccessRequest, Action, Authorizer
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision, Event, EventKind, Hooks, RequestInfo
from tusserver.upload import Durability, Limits, Upload, UploadId
from tusserver.web.app import tus_app

__all__ = [
    "AccessRequest",
    "Action",
    "Authorizer",
    "CallableHooks",
    "Caller",
    "Decision",
    "Durability",
    "EngineParts",
    "Event",
    "EventKind",
    "Forbidden",
    "HookFailed",
    "Hooks",
    "Limits",
    "Rejected",
    "RequestInfo",
    "Settings",
    "TusError",
    "Unauthenticated",
    "Upload",
    "UploadEngine",
    "UploadId",
    "build_engine",
    "sign_upload_url",
    "tus_app",
]
