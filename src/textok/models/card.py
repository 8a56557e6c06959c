"""A plain model card, for weights that are published and have none of their own."""

import json
from typing import Any

from textok.models.config_json import encode_config

CARD_FILE = "README.md"

_CARD = """---
{header}
---

# {title}

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


def model_card(repo: str, *, model_id: str, model: Any) -> str:
    """What is known of published weights, as a README.md with the header that the Hugging Face hub reads.

    Args:
        repo: where they are published, such as ``someone/icons``.
        model_id: name and hash of the weights.
        model: with its ``config`` and ``made_by``, whose ``licence`` goes into the header.
    """
    made_by = getattr(model, "made_by", {})
    header = {"library_name": "open-textok"}
    if "licence" in made_by:
        header["license"] = str(made_by["licence"]).lower()  # the hub knows licences by lower-case names
    return _CARD.format(
        header="\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items()),
        title=repo.split("/")[-1],
        repo=repo,
        model_id=model_id,
        module=type(model).__module__,
        name=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        settings=json.dumps(encode_config(model.config), indent=2),
        made_by=json.dumps(made_by, indent=2),
    )
