//! JSON Web Tokens that nobody would make: those of a cluster, changed and signed again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::Value;

/// The token with its claims changed, signed (ES256) with the key `pem`; what its header says of the key stays.
pub fn forge(token: &str, pem: &str, change: impl FnOnce(&mut Value)) -> String {
    let (header, rest) = token.split_once('.').expect("a token has three parts");
    let (payload, _) = rest.split_once('.').expect("a token has three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("claims in base64");
    let mut claims: Value = serde_json::from_slice(&payload).expect("claims in JSON");
    change(&mut claims);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let (key, random) = (KeyPair::from_pem(pem).expect("a key"), SystemRandom::new());
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der(), &random);
    let signature = key.expect("a P-256 key").sign(&random, signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A key that nobody trusts, in PEM.
pub fn strange_key() -> String {
    KeyPair::generate().expect("a key").serialize_pem()
}
