"""Guesses of the API key, on a server that has one."""

from hostile.samples import SAMPLES
from hostile.target import Target

__all__ = ["KEY", "guess_keys"]

KEY = "sk-hostile-1a2b3c4d5e6f"
PROTECTED = (("GET", "/v3/models"), ("GET", "/v1/config"), ("POST", "/v1/config/reload"))
PROTECTED += tuple(("POST", path) for path in SAMPLES)


def guesses() -> list[dict[str, str]]:
    """Headers that hold no key, or one that is nearly right."""
    near = ["", " ", KEY[:-1], KEY + "x", KEY.upper(), KEY[::-1], KEY + "\t.", "*", "null", "%00"]
    near += [KEY[:n] for n in range(1, len(KEY))] + [f'"{KEY}"', f"{KEY},{KEY}", f"x {KEY}"]
    found = [{"Authorization": f"Bearer {key}"} for key in near] + [{"x-api-key": k} for k in near]
    schemes = ("Basic", "Token", "Digest", "BearerX", "")
    found += [{"Authorization": f"{scheme} {KEY}"} for scheme in schemes]
    others = ("X-Forwarded-For", "X-Original-URL", "X-Rewrite-URL", "api-key", "Cookie", "Key")
    found += [{name: KEY} for name in others] + [{}, {"Origin": "null"}, {"Upgrade": "websocket"}]
    return [*found, {"Authorization": "Bearer " + "\u00fc" * 10}, {"x-api-key": "\u0130" * 5}]


async def guess_keys(target: Target) -> None:
    """Ask everything with each guess; nothing but refusals may come."""
    for method, path in PROTECTED:
        for headers in guesses():
            status, _ = await target.ask(method, path, SAMPLES.get(path, {}), headers=headers)
            problem = f"{method} {path} with {headers} was answered with {status}"
            target.expect(status in {401, 403, 429, 0}, problem)
    spellings = ("//v3/models", "/v3/../v3/models", "/v3/models/", "/V3/MODELS", "/%76%33/models")
    for path in (*spellings, "/health/../v3/models", "/v3/models;x", "/v3/models?key=" + KEY):
        start = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        statuses = await target.raw(start)
        target.expect(200 not in statuses, f"GET {path} was answered without a key")
    for method in ("HEAD", "OPTIONS", "PUT", "FOO"):
        status, _ = await target.ask(method, "/v3/models")
        # The answer to a browser's question holds nothing.
        is_fine = status != 200 or method == "OPTIONS"
        target.expect(is_fine, f"{method} /v3/models was answered without a key")
