# fmt as the system packages it, compiled. The wheel brings headers of another version, whose compiled
# half it hides; a folder that holds only these goes before the wheel's in every search path.
find_package(fmt 9 REQUIRED)
get_target_property(fmt_headers fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
set(fmt_folder ${PROJECT_BINARY_DIR}/ext/fmt)
file(MAKE_DIRECTORY ${fmt_folder})
file(CREATE_LINK ${fmt_headers}/fmt ${fmt_folder}/fmt SYMBOLIC)
add_library(ext::fmt INTERFACE IMPORTED GLOBAL)
target_include_directories(ext::fmt SYSTEM INTERFACE ${fmt_folder})
target_link_libraries(ext::fmt INTERFACE fmt::fmt)
