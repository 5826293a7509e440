"""How much memory a file may ask for."""

FLOOR = 64 * 2**20
RATIO = 100


def allowance(stored: int) -> int:
    """How many bytes a compressed file of `stored` bytes may unpack to.

    A bomb of a megabyte unpacks to a gigabyte (deflate reaches 1 : 1032). Pictures do not: MNIST
    reaches 1 : 5. So 100 times its size is plenty for a file, and 64 MiB is for the small ones.

    >>> allowance(1_000), allowance(1_000_000)
    (67108864, 100000000)
    """
    return max(FLOOR, RATIO * stored)
