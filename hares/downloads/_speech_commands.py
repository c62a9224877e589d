"""Speech Commands v0.02, of which both tasks are made."""

from hares.downloads import RemoteFile

SOURCE = "TensorFlow Datasets' speech_commands"
WORDS = RemoteFile(
    "speech_commands_v0.02.tar.gz",
    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    2_428_923_189,
    "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
)
TEST_SET = RemoteFile(
    "speech_commands_test_set_v0.02.tar.gz",
    "http://download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz",
    112_563_277,
    "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
)
