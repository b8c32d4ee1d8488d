# Included after project() when the messages are built on the PyPI wheels of ROS 2.
#
# rclpy with Fast DDS loads one C type support; the generators for C++ consumers and for run-time
# introspection cost two thirds of the build and nobody in a virtual environment links to them.
# On a robot this file is not used: there every consumer finds every type support.
find_package(rosidl_default_generators REQUIRED)
foreach(_generator
    rosidl_generator_cpp
    rosidl_typesupport_cpp
    rosidl_typesupport_fastrtps_cpp
    rosidl_typesupport_introspection_c
    rosidl_typesupport_introspection_cpp)
  list(FILTER AMENT_EXTENSIONS_rosidl_generate_idl_interfaces EXCLUDE REGEX "^${_generator}:")
endforeach()
set(STATIC_ROSIDL_TYPESUPPORT_C rosidl_typesupport_fastrtps_c)

# Fewer, larger compilations; the C structures repeat names of static variables and stay apart.
set(CMAKE_UNITY_BUILD ON)
set(CMAKE_UNITY_BUILD_BATCH_SIZE 0)
cmake_language(DEFER CALL set_property
  TARGET ${PROJECT_NAME}__rosidl_generator_c PROPERTY UNITY_BUILD OFF)
