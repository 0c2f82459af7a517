//! What a client's certificate says of the client. That it chains to `--ca`, and that the client has its key, was found
//! out when the connection was made.

use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Whether a certificate is for exactly this DNS name; wildcards are not read as such.
pub fn has_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|given| matches!(given, GeneralName::DNSName(given) if *given == name))
}

/// Whether whoever has this certificate would be taken for the server at `host`, a name or an address.
pub fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let (Ok(certificate), Ok(host)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(host)) else {
        return false;
    };
    verify_server_name(&certificate, &host).is_ok()
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::*;
    use crate::testing::Pki;

    #[test]
    fn a_certificate_has_the_names_that_it_was_issued_for_and_no_others() {
        let pki = Pki::new();
        let issued = |name: &str, names: &[&str]| CertificateDer::from_pem_file(pki.issue(name, names).cert).unwrap();
        let operator = issued("operator", &["10.0.0.1", "kiam-operator"]);
        assert!(has_name(&operator, "kiam-operator"));
        for other in ["kiam-agent", "kiam-operator.", "10.0.0.1", ""] {
            assert!(!has_name(&operator, other), "{other}");
        }
        assert!(!has_name(&issued("any", &["*"]), "kiam-operator"));
        assert!(!has_name(&CertificateDer::from(b"no certificate".as_slice()), "kiam-operator"));
    }

    #[test]
    fn a_certificate_is_for_the_hosts_that_clients_would_take_it_for() {
        let pki = Pki::new();
        let server =
            CertificateDer::from_pem_file(pki.issue("server", &["10.0.0.1", "kiam", "*.kiam.svc"]).cert).unwrap();
        for host in ["kiam", "KIAM", "10.0.0.1", "a.kiam.svc"] {
            assert!(is_for(&server, host), "{host}");
        }
        for other in ["kiam-agent", "10.0.0.2", "a.b.kiam.svc", "kiam.svc", "", "no name"] {
            assert!(!is_for(&server, other), "{other}");
        }
        assert!(!is_for(&CertificateDer::from(b"no certificate".as_slice()), "kiam"));
    }
}
