"""Fetches the images that tasks name, safely, and makes small copies of them. Needs no torch.

`fetcher` is the face. `addresses` says what an address of a task means and what may be asked, `network` to which hosts
a connection may go, and `download` reads one address within the limits. `images` makes the small copies. Another kind
of media, such as sound, is one more file beside it, with a `Kind`.
"""

from connector.media.failures import Failure
from connector.media.fetcher import Fetcher, Source
from connector.media.limits import Limits

__all__ = ["Failure", "Fetcher", "Limits", "Source"]
