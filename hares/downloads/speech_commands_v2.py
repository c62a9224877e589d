"""Speech Commands v2: the archive of the words; its lists make the split."""

from hares.downloads import Download
from hares.downloads._speech_commands import SOURCE, WORDS

DOWNLOAD = Download("2.4 GB, and 3.4 GB unpacked", SOURCE, (WORDS,))
