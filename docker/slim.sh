#!/bin/sh
# Take out of an environment what nothing needs at run time: tests, headers, static libraries, symbols, features of
# libraries that nobody uses here. What is left is compiled, as an image is read-only when it runs.
set -eu
cd "$1"/lib/python3*/site-packages
find . -depth -type d \( -name tests -o -name test \) -path './*/*' ! -path './torch/*' -exec rm -rf {} +
find . -type f \( -name '*.a' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pyi' -o -name '*.h' -o -name '*.hpp' -o -name '*.cuh' -o -name '*.map' \) -delete
[ ! -d torch/bin ] || find torch/bin -type f ! -name torch_shm_manager -delete
rm -rf torch/include torch/share torch/test pyarrow/include pyarrow/src pyarrow/*flight*
# Symbols of the largest libraries; those that wheel builders patched (*.libs) would not survive it.
for folder in _polars_runtime_32 pyarrow torch/lib; do
    [ ! -d "$folder" ] || find "$folder" -name '*.so*' -type f -exec strip --strip-unneeded {} +
done
# Amazon's services that nobody calls here.
if [ -d botocore/data ]; then
    find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name s3control ! -name sts ! -name sso \
        ! -name sso-oidc -exec rm -rf {} +
fi
python3 -m compileall -qq -j 0 . || true
