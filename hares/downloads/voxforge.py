"""VoxForge: TensorFlow Datasets' list of archives, a session each, and what it names on VoxForge's server."""

from hares.downloads import Download, RemoteFile

DOWNLOAD = Download(
    room="about 60 GB; 100 GB while it is unpacked",
    source="TensorFlow Datasets' voxforge; the addresses of the sessions stand in its list",
    files=(
        RemoteFile(
            "voxforge_urls.txt",
            "https://storage.googleapis.com/tfds-data/downloads/voxforge/voxforge_urls.txt",
            1_344_189,
            "9cc218a5bce16640dc4eeb263aa423ce63ca59fc6587a9487dc397642b76af6c",
            listing=True,
        ),
    ),
)
