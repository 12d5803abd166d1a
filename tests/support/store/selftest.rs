//! The server itself, through the client that the agent uses: a test that blames the agent must be able to trust it.

use object_store::{
    Certificate, ClientOptions, ObjectStore, ObjectStoreExt, WriteMultipart, aws::AmazonS3Builder, path::Path,
};

use super::S3;

fn client(s3: &S3, secret_key: &str) -> impl ObjectStore {
    let mut options = ClientOptions::new().with_allow_http(true);
    if let Some(pem) = &s3.ca_pem {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        options = options.with_root_certificate(Certificate::from_pem(pem.as_bytes()).unwrap());
    }
    AmazonS3Builder::new()
        .with_endpoint(&s3.endpoint)
        .with_region(&s3.region)
        .with_bucket_name(&s3.bucket)
        .with_access_key_id(&s3.access_key)
        .with_secret_access_key(secret_key)
        .with_client_options(options)
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_store_keeps_objects_and_shows_open_uploads() {
    for tls in [false, true] {
        let mut s3 = S3::start(tls);
        let store = client(&s3, &s3.secret_key);
        let small = Path::from("cluster/small.json");
        store.put(&small, "{}".into()).await.unwrap();
        assert_eq!(s3.objects(), ["cluster/small.json"]);
        assert_eq!(s3.read("cluster/small.json"), b"{}");

        let large = Path::from("cluster/large.gz");
        let upload = store.put_multipart(&large).await.unwrap();
        assert_eq!(s3.open_uploads(), 1);
        let mut upload = WriteMultipart::new_with_chunk_size(upload, 5 << 20);
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(12_000_000).collect();
        upload.write(&content);
        upload.finish().await.unwrap();
        assert_eq!(s3.open_uploads(), 0);
        assert!(
            s3.read("cluster/large.gz") == content,
            "the object differs from what was sent"
        );

        let mut abandoned = store.put_multipart(&large).await.unwrap();
        abandoned.abort().await.unwrap();
        assert_eq!(s3.open_uploads(), 0);

        s3.stop();
        s3.start_again();
        assert_eq!(store.head(&small).await.unwrap().size, 2);
    }
}

#[tokio::test]
async fn the_store_refuses_a_wrong_secret() {
    let s3 = S3::start(false);
    let refused = client(&s3, "wrong").put(&Path::from("a"), "b".into()).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(s3.objects(), Vec::<String>::new());
}
