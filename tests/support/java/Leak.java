import java.util.ArrayList;
import java.util.List;

/** Dies of OutOfMemoryError with a heap full of Leak$Node. Arguments: [megabytes live before the leak starts]. */
public class Leak {
    /** 100 bytes of payload: about 8,000 of them fill a megabyte. */
    static class Node {
        final long id;
        final byte[] payload = new byte[100];
        final Node previous;

        Node(long id, Node previous) {
            this.id = id;
            this.previous = previous;
            // Not all zero: a dump that compresses a thousandfold proves little about the way it is shipped.
            long bits = id * 0x9E3779B97F4A7C15L;
            for (int i = 0; i < 24; i++) {
                payload[i] = (byte) (bits >>> (i * 5));
            }
        }
    }

    static Node last;

    public static void main(String[] arguments) {
        List<byte[]> live = new ArrayList<>();
        int megabytes = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 0;
        for (int i = 0; i < megabytes; i++) {
            live.add(new byte[1 << 20]);
        }
        System.out.println("ready");
        System.out.flush();
        for (long id = 0; ; id++) {
            last = new Node(id, last);
        }
    }
}
