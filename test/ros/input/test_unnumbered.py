"""A middleware that does not number messages, as Cyclone DDS: nobody claims that none was lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.fuzz import include_options

HERE = Path(__file__).parent

# What rmw_cyclonedds_cpp gives of a message: its publisher, times, and no numbers.
SHIM = """
#include <dlfcn.h>
#include <rcl/subscription.h>

extern "C" rcl_ret_t rcl_take_serialized_message(
  const rcl_subscription_t * subscription, rcl_serialized_message_t * message,
  rmw_message_info_t * info, rmw_subscription_allocation_t * allocation)
{
  static const auto take = reinterpret_cast<decltype(&rcl_take_serialized_message)>(
    dlsym(dlopen("librcl.so", RTLD_LAZY), "rcl_take_serialized_message"));
  const auto code = take(subscription, message, info, allocation);
  info->publication_sequence_number = RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED;
  info->reception_sequence_number = RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED;
  return code;
}
"""

RECEIVE = """
from edge_rig import image, open_rig

with open_rig('serialised') as rig:
    for number in range(9):
        rig.front.publish(image(number))
        rig.until(lambda: rig.account().published == number + 1)
        assert rig.keeper.frames[-1].data.tobytes() == bytes(image(number).data)
        rig.keeper.frames.clear()
    assert rig.ingest.notes['a'].lost is None, rig.ingest.notes['a'].lost
print('unknown')
"""


@pytest.mark.ros
@pytest.mark.skipif(not shutil.which('g++'), reason='needs g++ for a middleware without numbers')
def test_losses_are_unknown(tmp_path: Path) -> None:
    source, shim = tmp_path / 'shim.cpp', tmp_path / 'shim.so'
    source.write_text(SHIM)
    command = ['g++', '-shared', '-fPIC', *include_options(), str(source), '-o', str(shim)]
    subprocess.run([*command, '-ldl'], check=True)
    environ = {**os.environ, 'LD_PRELOAD': str(shim)}
    command = [sys.executable, '-c', RECEIVE]
    done = subprocess.run(command, env=environ, cwd=HERE, capture_output=True, text=True)
    said = done.stdout.splitlines()[-1:]
    assert said == ['unknown'], (done.returncode, done.stderr[-3000:])
