"""ESC-50: one archive of its repository, without a digest."""

from hares.downloads import Download, RemoteFile

DOWNLOAD = Download(
    room="0.6 GB, and as much again unpacked",
    source="README of github.com/karolpiczak/ESC-50",
    files=(RemoteFile("ESC-50-master.zip", "https://github.com/karoldvl/ESC-50/archive/master.zip"),),
)
