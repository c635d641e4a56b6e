//! What stays with the kernel while an interface is served: neighbour discovery, ping, UDP, and TCP on other ports.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::world::{PATIENCE, Serve, V4, V6, World, run, server};

/// A kernel listener on a port that is not served: what is said to it comes back over `address`.
fn kernel_listener_answers(world: &World, address: &str) {
    let listener = world.in_server(|| TcpListener::bind(server(address, 8080)).unwrap());
    let echo = thread::spawn(move || {
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        stream.write_all(&said).unwrap();
    });
    let mut stream = world.connect(server(address, 8080)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"hello");
    echo.join().unwrap();
}

/// A datagram to the port number that TCP is served on, and its answer.
fn udp_answers(world: &World, address: &str) {
    let theirs = world.in_server(|| UdpSocket::bind(server(address, 80)).unwrap());
    let ours = world.in_client(|| UdpSocket::bind(if address == V4 { "0.0.0.0:0" } else { "[::]:0" }).unwrap());
    for socket in [&theirs, &ours] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut buffer = [0; 16];
    ours.send_to(b"ping", server(address, 80)).unwrap();
    let (len, from) = theirs.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"ping");
    theirs.send_to(b"pong", from).unwrap();
    assert_eq!(ours.recv(&mut buffer).unwrap(), 4);
}

fn steered(serve: &Serve<'_>) -> u64 {
    serve.stats().steering.get("redirected").unwrap()
}

#[test]
fn arp_neighbour_discovery_ping_udp_and_other_ports_stay_with_the_kernel() {
    let Some(world) = World::up("arp_neighbour_discovery_ping_udp_and_other_ports_stay_with_the_kernel") else {
        return;
    };
    let serve = world.serve("--listen 80=http");
    for (family, address) in [("-4", V4), ("-6", V6)] {
        run(&mut world.at_client("ip", &[family, "neighbour", "flush", "dev", "hf-client"]));
        let ping = run(&mut world.at_client("ping", &[family, "-c", "20", "-i", "0.005", "-W", "2", address]));
        assert!(ping.contains("20 received, 0% packet loss"), "{ping}");
        // Larger than a frame: the kernel's reassembly is at work, too.
        let ping = run(&mut world.at_client("ping", &[family, "-c", "3", "-i", "0.005", "-s", "4000", address]));
        assert!(ping.contains("3 received"), "{ping}");
        let neighbours = run(&mut world.at_client("ip", &[family, "neighbour", "show", address]));
        assert!(neighbours.contains("02:68:66:00:00:01"), "{neighbours}");
        kernel_listener_answers(&world, address);
        udp_answers(&world, address);
    }
    assert_eq!(steered(&serve), 0, "something of the kernel's was steered");
    // Nobody listens there, so the kernel refuses.
    let refused = world.connect(server(V4, 81)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // From the server's own end, connections of its kernel go out as ever.
    let listener = world.in_client(|| TcpListener::bind("198.18.0.2:9000").unwrap());
    let out =
        world.in_server(|| TcpStream::connect_timeout(&"198.18.0.2:9000".parse().unwrap(), Duration::from_secs(2)));
    out.unwrap().write_all(b"x").unwrap();
    listener.accept().unwrap();
    assert_eq!(steered(&serve), 0);
    // And it serves.
    world.connect(server(V4, 80)).unwrap();
    assert!(steered(&serve) > 0);
}
