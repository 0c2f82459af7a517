//! What takes seconds to start and does not mind many tests at a time: one of each for the whole test program.

use kiam_tests::real::kube_apiserver::KubeApiServer;
use kiam_tests::real::moto::Moto;
use tokio::sync::OnceCell;

/// The Kubernetes API server. Tests in it have a namespace and pod addresses of their own.
pub(crate) async fn kubernetes() -> &'static KubeApiServer {
    static KUBERNETES: OnceCell<KubeApiServer> = OnceCell::const_new();
    KUBERNETES.get_or_init(KubeApiServer::start).await
}

/// The STS.
pub(crate) async fn moto() -> &'static Moto {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    MOTO.get_or_init(Moto::start).await
}
