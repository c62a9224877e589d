"""Speech Commands v1: the two archives of v0.02, which are the paper's data (`hares/tasks/speech_commands_v1.py`)."""

from hares.downloads import Download
from hares.downloads._speech_commands import SOURCE, TEST_SET, WORDS

DOWNLOAD = Download("2.5 GB, and 3.6 GB unpacked", SOURCE, (WORDS, TEST_SET))
