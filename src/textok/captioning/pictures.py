"""Pictures as models of captions take them, and as they are sent."""

import io

from PIL import Image

from textok.data.images import decode_whole, tensor_to_image
from textok.data.samples import DrawnPicture


def open_picture(stored: bytes | DrawnPicture, *, side: int) -> Image.Image:
    """A picture of a source as upright RGB, whole, no side longer than ``side``; raises ``ImageError``."""
    if isinstance(stored, bytes):
        return decode_whole(stored, side=side)
    return tensor_to_image(stored.draw((side, side)))


def jpeg_bytes(image: Image.Image, *, quality: int) -> bytes:
    """A picture as JPEG, without any metadata."""
    buffer = io.BytesIO()
    Image.frombytes(image.mode, image.size, image.tobytes()).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def picture_suffix(data: bytes) -> str:
    """The usual suffix of a stored picture, by its content: "jpg", "png", ..."""
    with Image.open(io.BytesIO(data)) as image:
        name = (image.format or "").lower()
    return {"jpeg": "jpg", "mpo": "jpg", "tiff": "tif"}.get(name, name)
