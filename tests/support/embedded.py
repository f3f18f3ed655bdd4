"""kombu's broker in a folder, whose messages and tables nobody sees half written.

kombu creates a message's file under its final name, and fills it afterwards. A worker that looks in between, which
threads of its own give the time for, takes an empty message and ends: "Unrecoverable error: JSONDecodeError".
"""

import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        whole = Path(self.data_folder_out, f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg")
        unfinished = Path(f"{whole}.part")
        try:
            unfinished.write_text(dumps(payload))
            unfinished.rename(whole)
        except OSError as exc:
            raise ChannelError(f"Cannot add {whole}") from exc

    def _queue_bind(self, exchange: str, *binding: Any) -> None:
        folder = Path(self.control_folder)
        folder.mkdir(exist_ok=True)
        empty = folder / f"{uuid.uuid4()}.part"
        empty.write_text("[]")
        # What is there is changed by kombu in place, under a lock that readers respect.
        with suppress(FileExistsError):
            (folder / f"{exchange}.exchange").hardlink_to(empty)
        empty.unlink()
        super()._queue_bind(exchange, *binding)


class Transport(filesystem.Transport):
    Channel = Channel
