import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;

/**
 * A healthy service with 30 MB of live data. GET /stop notes "httpGet", a SIGTERM notes "sigterm", GET /leak runs out of
 * memory and goes on serving, any other path answers "ok". Notes are lines of the output, and empty files of that name in the
 * folder that EVIDENCE names. It has a socket of its own: jdk.httpserver is not in every runtime.
 */
public class Serve {
    static final int PORT = 8080;
    static final List<byte[]> LIVE = new ArrayList<>();

    public static void main(String[] arguments) throws IOException {
        for (int megabyte = 0; megabyte < 30; megabyte++) {
            LIVE.add(new byte[1 << 20]);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> note("sigterm")));
        try (ServerSocket server = new ServerSocket(PORT)) {
            System.out.println("ready");
            while (true) {
                Socket client = server.accept();
                new Thread(() -> answer(client)).start();
            }
        }
    }

    static void answer(Socket client) {
        try (Socket socket = client) {
            BufferedReader lines = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.US_ASCII));
            String[] request = String.valueOf(lines.readLine()).split(" ");
            for (String line = lines.readLine(); line != null && !line.isEmpty(); line = lines.readLine()) {
                // The headers say nothing that is needed, but a client may mind when they are not read.
            }
            String path = request.length > 1 ? request[1] : "/";
            if (path.equals("/stop")) {
                note("httpGet");
            }
            String answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
            socket.getOutputStream().write(answer.getBytes(StandardCharsets.US_ASCII));
            socket.getOutputStream().flush();
            if (path.equals("/leak")) {
                leak();
            }
        } catch (IOException gone) {
            System.out.println("a client went away: " + gone);
        }
    }

    static void leak() {
        List<byte[]> leaked = new ArrayList<>();
        while (true) {
            leaked.add(new byte[1 << 20]);
        }
    }

    static void note(String what) {
        System.out.println(what);
        String folder = System.getenv("EVIDENCE");
        if (folder == null) {
            return;
        }
        try {
            Files.createFile(Paths.get(folder, what));
        } catch (IOException failure) {
            System.out.println("could not note " + what + ": " + failure);
        }
    }
}
