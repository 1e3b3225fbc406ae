# The ONNX protobuf schema (onnx-ml.proto of the pinned PyPI `onnx` wheel, fetched by scripts/setup.sh) compiled into fcm_onnx_schema.
find_package(Protobuf 3.21 REQUIRED)
set(FCM_ONNX_PROTO ${PROJECT_SOURCE_DIR}/.deps/onnx/onnx-ml.proto CACHE FILEPATH "onnx-ml.proto")
if(NOT EXISTS ${FCM_ONNX_PROTO})
  message(FATAL_ERROR "${FCM_ONNX_PROTO} is missing: run scripts/setup.sh, or set FCM_ONNX_PROTO")
endif()
set(schema_dir ${PROJECT_BINARY_DIR}/onnx_schema)
file(MAKE_DIRECTORY ${schema_dir})
add_custom_command(
  OUTPUT ${schema_dir}/onnx.pb.cc ${schema_dir}/onnx.pb.h
  COMMAND ${CMAKE_COMMAND} -E copy ${FCM_ONNX_PROTO} ${schema_dir}/onnx.proto
  COMMAND protobuf::protoc --cpp_out=${schema_dir} -I${schema_dir} ${schema_dir}/onnx.proto
  DEPENDS ${FCM_ONNX_PROTO}
  VERBATIM)
add_library(fcm_onnx_schema STATIC ${schema_dir}/onnx.pb.cc)
target_include_directories(fcm_onnx_schema SYSTEM PUBLIC ${schema_dir})
target_link_libraries(fcm_onnx_schema PUBLIC protobuf::libprotobuf-lite)  # the schema asks for LITE_RUNTIME: no descriptor registry that an embedding program could clash with
