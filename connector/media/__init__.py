"""Fetches the images and recordings that tasks name, safely, and makes small copies of them. Needs no torch.

`fetcher` is the face. `addresses` says what an address of a task means and what may be asked, `network` to which hosts
a connection may go, and `download` reads one address within the limits. `images` and `recordings` make the small
copies. Another kind of media is one more file beside them, with a `Kind`, and a line in `kinds`.
"""

from connector.media.failures import Failure
from connector.media.fetcher import Fetcher, Source
from connector.media.limits import Limits

__all__ = ["Failure", "Fetcher", "Limits", "Source"]
