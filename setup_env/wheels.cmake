# Included after project() when the messages are built on the PyPI wheels of ROS 2.
#
# rclpy with Fast DDS loads the C type supports; the generators for C++ consumers cost half of the
# build and nobody in a virtual environment links to them. (Without C introspection Fast DDS
# cannot describe a topic's type and complains about it on stderr for every publisher.)
# On a robot this file is not used: there every consumer finds every type support.
find_package(rosidl_default_generators REQUIRED)
foreach(_generator
    rosidl_generator_cpp
    rosidl_typesupport_cpp
    rosidl_typesupport_fastrtps_cpp
    rosidl_typesupport_introspection_cpp)
  list(FILTER AMENT_EXTENSIONS_rosidl_generate_idl_interfaces EXCLUDE REGEX "^${_generator}:")
endforeach()

# Fewer, larger compilations; the C structures repeat names of static variables and stay apart.
set(CMAKE_UNITY_BUILD ON)
set(CMAKE_UNITY_BUILD_BATCH_SIZE 0)
cmake_language(DEFER CALL set_property
  TARGET ${PROJECT_NAME}__rosidl_generator_c PROPERTY UNITY_BUILD OFF)
