"""NSynth as TFRecords, the form that TensorFlow Datasets gives digests for."""

from hares.downloads import Download, RemoteFile

_PLACE = "http://download.magenta.tensorflow.org/datasets/nsynth"

DOWNLOAD = Download(
    room="78 GB; 196 GB until the archives are removed, then 39 GB as wav",
    source="TensorFlow Datasets' nsynth",
    note="Unpacking takes TensorFlow. The home page links json/wav archives too, of a third of the size and without "
    "digests: nsynth-{train,valid,test}.jsonwav.tar.gz, put into nsynth/, do as well, with 'hares corpus unpack'.",
    files=(
        RemoteFile(
            "nsynth-train.tfrecord.tar", f"{_PLACE}/nsynth-train.tfrecord.tar", 74_159_943_680,
            "09149ea1420f01a65de10a310b9e94ecc74f1640b85f68fb9122bbca0b5d207a",
        ),
        RemoteFile(
            "nsynth-valid.tfrecord.tar", f"{_PLACE}/nsynth-valid.tfrecord.tar", 3_250_995_200,
            "eb535520a9643db461c0cd177307d7fe691c32fe6a4da60fd23ac75f6e18ae07",
        ),
        RemoteFile(
            "nsynth-test.tfrecord.tar", f"{_PLACE}/nsynth-test.tfrecord.tar", 1_050_327_040,
            "65df0d0ada540ca1983849a051cbec4d0d9c51900b6acb8a4c06492560680a71",
        ),
    ),
)  # fmt: skip
