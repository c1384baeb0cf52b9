"""`feature-store serve`: the HTTP server."""

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import examples, tell
from feature_store_assets.server.uvicorn_server import serve as run

# Feast's, whose clients may read here.
_PORT = 6566


@click.command(
    short_help="Serve features over HTTP.",
    epilog=examples(
        "feature-store serve",
        "feature-store serve --host 0.0.0.0 --port 8080 --workers 4",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=_PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes; as many as there are cores to spare.",
)
def serve(host: str, port: int, workers: int) -> None:
    """Serve features over HTTP until it is told to end.

    /docs describes the API, /metrics is for Prometheus, /health and /ready are for a load balancer.
    Other hosts are served once there is a token.
    """
    with fs.FeatureStore.from_env() as store:
        tokens = bool(store.config.api_tokens or store.tokens.names())
        store.groups()  # a registry that cannot be read is told here, not by each worker
    tell(f"Serving {store.config.root} on http://{host}:{port} (API: http://{host}:{port}/docs)")
    run(host, port, workers=workers, tokens=tokens)
