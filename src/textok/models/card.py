"""A plain model card, for weights that are published and have none of their own."""

import json
from typing import Any

from textok.models.config_json import encode_config

CARD_FILE, SAMPLES_FILE = "README.md", "samples.png"

_CARD = """# {title}

`{model_id}`, a {name} of open-textok with {parameters:,} parameters.

```python
from {module} import {name}

model = {name}.from_pretrained({repo!r})
```

This card was written by a program. It does not tell what the weights are good for, nor where they fail.

## Settings

```json
{settings}
```

## What made it

```json
{made_by}
```
"""


def model_card(model: Any, repo: str, *, model_id: str, card: str | None, has_samples: bool) -> str:
    """The README.md of published weights, with the header that the Hugging Face hub reads.

    Args:
        repo: where they are published, such as ``someone/icons``.
        card: what came with the weights; a plain one is made without it, and one that has a header stays as it is.
        has_samples: whether ``SAMPLES_FILE`` is beside it.
    """
    made_by = getattr(model, "made_by", {})
    card = card or _CARD.format(
        title=repo.split("/")[-1],
        repo=repo,
        model_id=model_id,
        module=type(model).__module__,
        name=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        settings=json.dumps(encode_config(model.config), indent=2),
        made_by=json.dumps(made_by, indent=2),
    )
    if card.startswith("---\n"):
        return card
    header = _header(getattr(model.config, "condition", None), made_by, has_samples=has_samples)
    lines = [f"{key}: {json.dumps(value)}" for key, value in header.items()]  # JSON is YAML, too
    return "\n".join(["---", *lines, "---", "", card])


def _header(condition: Any, made_by: dict[str, Any], *, has_samples: bool) -> dict[str, Any]:
    header: dict[str, Any] = {
        "library_name": "open-textok",
        "tags": ["image-tokenization", "text-conditioned"],
        "pipeline_tag": "image-to-image",
        "metrics": ["psnr"] if condition is None else ["frechet_distance"],
    }
    if "licence" in made_by:
        header["license"] = str(made_by["licence"]).lower()  # the hub knows licences by lower-case names
    if data := str(made_by.get("data", "")).partition(",")[0].rstrip("/"):
        header["datasets"] = [data.rpartition("/")[2]]
    if condition is not None and condition.kind == "text":
        header["pipeline_tag"] = "text-to-image"
        example: dict[str, Any] = {"text": "a glossy 3D emoji of a red apple; food, fruit"}
        header["widget"] = [example | ({"output": {"url": SAMPLES_FILE}} if has_samples else {})]
    elif condition is not None:
        header["pipeline_tag"] = "unconditional-image-generation"
    return header
