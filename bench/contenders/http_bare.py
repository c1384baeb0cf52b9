"""A bare ASGI app over redis-py's asyncio client: finished keys come in, dicts of values go out.

No declarations, no ttl, no tokens, no statuses, no metrics: the limit of this server and client.
Run by ``uvicorn bench.contenders.http_bare:app`` with ``REDIS`` and ``NAMES`` in the environment.
"""

import os
from typing import Any

import msgspec
import redis.asyncio

_HEAD = 26
_names = os.environ["NAMES"].split(",")
_redis: Any = redis.asyncio.Redis.from_url(os.environ["REDIS"])
_decode = msgspec.msgpack.Decoder(list).decode
_keys = msgspec.json.Decoder(list[str]).decode
_encode = msgspec.json.Encoder().encode


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    values = await _redis.execute_command("MGET", *_keys(body)) if body else []
    answer = _encode([dict(zip(_names, _decode(value[_HEAD:]), strict=True)) for value in values])
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
