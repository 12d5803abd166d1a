//! s3s-fs on a thread of its own.

use std::{net::TcpListener, path::Path, thread::JoinHandle};

use axum::{Router, error_handling::HandleError, http::StatusCode};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};

use super::Certificate;

pub struct InProcess {
    handle: Handle<std::net::SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl InProcess {
    /// `None` where the port is taken.
    pub fn serve(
        root: &Path,
        port: u16,
        access_key: &str,
        secret_key: &str,
        certificate: Option<&Certificate>,
    ) -> Option<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).ok()?;
        listener.set_nonblocking(true).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        let service = HandleError::new(builder.build(), async |error: s3s::HttpError| {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}"))
        });
        let router = Router::new().fallback_service(service).into_make_service();

        let handle = Handle::new();
        let ours = handle.clone();
        let files = certificate.map(|of| (of.chain_file.clone(), of.key_file.clone()));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                if let Some((chain, key)) = files {
                    // An error means that another test has installed the same one.
                    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
                    let config = RustlsConfig::from_pem_file(chain, key).await.unwrap();
                    axum_server::from_tcp_rustls(listener, config)
                        .unwrap()
                        .handle(ours)
                        .serve(router)
                        .await
                        .unwrap();
                } else {
                    axum_server::from_tcp(listener)
                        .unwrap()
                        .handle(ours)
                        .serve(router)
                        .await
                        .unwrap();
                }
            });
        });
        Some(Self {
            handle,
            thread: Some(thread),
        })
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already, and a second one here would abort the test process.
            let _ = thread.join();
        }
    }
}
