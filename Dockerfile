# Saccade on NVIDIA's CUDA image (docs/install.md): docker build -t saccade .
FROM nvidia/cuda:13.0.0-devel-ubuntu24.04 AS build
WORKDIR /src
COPY tools/install_dependencies.sh tools/
RUN tools/install_dependencies.sh
COPY . .
RUN cmake -S . -B build/package -G Ninja -DCMAKE_BUILD_TYPE=Release -DSACCADE_TESTS=OFF \
      -DSACCADE_CUDA=ON -DSACCADE_STATIC_CUDART=ON \
 && cmake --build build/package --target saccade saccade_shared \
 && tools/make_package.sh build/package /dist \
 && tools/test_package.sh /dist/*.tar.gz \
 && mkdir /opt/saccade && tar -xzf /dist/*.tar.gz -C /opt/saccade --strip-components 1

FROM nvidia/cuda:13.0.0-runtime-ubuntu24.04
COPY --from=build /opt/saccade /opt/saccade
RUN ln -s /opt/saccade/bin/saccade /usr/local/bin/saccade \
 && useradd --create-home saccade
USER saccade
WORKDIR /home/saccade
EXPOSE 8000
ENTRYPOINT ["saccade"]
