"""Definitions of the messages that carry video, for bags and machines that have none."""

VIDEO_DEFINITIONS = {
    'foxglove_msgs/msg/CompressedVideo': """
builtin_interfaces/Time timestamp
string frame_id
uint8[] data
string format
""",
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': """
std_msgs/Header header
int32 width
int32 height
string encoding
uint64 pts
uint8 flags
bool is_bigendian
uint8[] data
""",
}
"""By type, as its package has it, without comments."""
