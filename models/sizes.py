"""Sizes of memory in words."""

MIB, GIB = 1 << 20, 1 << 30


def readable(size: float) -> str:
    """Bytes as MiB or GiB."""
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"
