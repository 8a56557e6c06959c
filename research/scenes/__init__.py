"""The study on scenes: what dense captions save, with a decoder that generates and with a direct one."""
