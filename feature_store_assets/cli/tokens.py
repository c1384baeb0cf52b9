"""Who may use the HTTP server: `token create`, `token list`, `token revoke`."""

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, print_json, print_rows, say, tell


@click.group(
    short_help="Say who may use the HTTP server.",
    epilog=examples(
        "feature-store token create recommender",
        "feature-store token list",
        "feature-store token revoke recommender",
    ),
)
def token() -> None:
    """Say who may use the HTTP server.

    Where no token is, nor one in FEATURE_STORE_API_TOKENS, everyone may. A server that runs knows
    of a new or revoked token within seconds.
    """


@token.command(epilog=examples("feature-store token create recommender > recommender.token"))
@click.argument("name")
@as_json
def create(name: str, *, as_json: bool) -> None:
    """Make a token for NAME and print it, this once.

    The registry keeps only its digest, from which nobody can tell the token.
    """
    with fs.FeatureStore.from_env() as store:
        secret = store.tokens.create(name)
    if as_json:
        print_json({"name": name, "token": secret})
    else:
        click.echo(secret)
    tell(
        f"This is the token of '{name}'. It is shown only now: keep it where '{name}' finds it, "
        f"which sends it as `Authorization: Bearer <token>`."
    )


@token.command("list", epilog=examples("feature-store token list"))
@as_json
def list_(*, as_json: bool) -> None:
    """Show who has a token, and since when."""
    with fs.FeatureStore.from_env() as store:
        tokens = store.tokens.names()
    rows = [[each.name, each.created_at.isoformat(timespec="seconds")] for each in tokens]
    print_rows(["name", "created"], rows, as_json=as_json)


@token.command(epilog=examples("feature-store token revoke recommender"))
@click.argument("name")
@as_json
def revoke(name: str, *, as_json: bool) -> None:
    """Take the token of NAME back."""
    with fs.FeatureStore.from_env() as store:
        store.tokens.revoke(name)
        left = store.tokens.names() or store.config.api_tokens
    say(f"The token of '{name}' no longer counts.", {"revoked": name}, as_json=as_json)
    if not left:
        tell("It was the last: a server that is started now asks nobody for a token.")
