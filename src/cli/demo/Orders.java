import java.util.HashMap;
import java.util.Map;

/** Serves for as long as it is let. */
public class Orders {
    static final Map<Integer, Order> OPEN = new HashMap<>();

    static final class Order {
        final int number;
        final String customer;

        Order(int number) {
            this.number = number;
            this.customer = "customer " + number;
        }
    }

    public static void main(String[] args) throws InterruptedException {
        for (int number = 0; number < 50_000; number++) {
            OPEN.put(number, new Order(number));
        }
        System.out.println("serving");
        Thread.sleep(Long.MAX_VALUE);
    }
}
