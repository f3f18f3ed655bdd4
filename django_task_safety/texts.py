"""Text as databases take it; without Django, for it is needed before there are models."""


def storable(text: str) -> str:
    """Return ``text`` as something every database stores: NUL and lone surrogates escaped."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
